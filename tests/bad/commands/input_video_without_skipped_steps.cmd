run $BUNDLE --prompt x --input-video tests/bad/media/clip.mp4 -o $TMP/x.mp4

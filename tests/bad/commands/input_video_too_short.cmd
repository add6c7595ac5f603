run $BUNDLE --prompt x --input-video tests/bad/media/clip.mp4 --frames 17 --skip-initial-steps 9 -o $TMP/x.mp4

run $BUNDLE --prompt x --condition tests/bad/media/clip.mp4@3 -o $TMP/x.mp4

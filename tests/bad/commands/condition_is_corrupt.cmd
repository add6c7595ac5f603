run $BUNDLE --prompt x --condition tests/bad/media/corrupt.png@0 -o $TMP/x.mp4

run $BUNDLE --prompt x --condition tests/bad/media/huge.png@0 -o $TMP/x.mp4

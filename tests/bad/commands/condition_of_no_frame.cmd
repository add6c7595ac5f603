run $BUNDLE --prompt x --condition tests/bad/media/image.png@first -o $TMP/x.mp4

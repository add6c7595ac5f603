run $BUNDLE --prompt x --condition tests/bad/media/image.png@99 -o $TMP/x.mp4

run $BUNDLE --prompt x --condition tests/bad/media/image.png@0:1.5 -o $TMP/x.mp4

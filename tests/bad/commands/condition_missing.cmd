run $BUNDLE --prompt x --condition $TMP/none.png@0 -o $TMP/x.mp4

run $BUNDLE --prompt x --condition $TMP/file@0 -o $TMP/x.mp4

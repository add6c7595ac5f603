run $BUNDLE --prompt x --condition $TMP/folder@0 -o $TMP/x.mp4

run $BUNDLE --prompt a -o $TMP/folder

run $BUNDLE --prompt a -o $TMP/a.avi

run $BUNDLE --prompt a -o $TMP/%s.png

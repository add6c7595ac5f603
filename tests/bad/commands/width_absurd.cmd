run $BUNDLE --prompt a -o $TMP/a.mp4 --width 99999999999

run $BUNDLE --prompt a -o $TMP/a.mp4 --frames 60000

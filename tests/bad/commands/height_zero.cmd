run $BUNDLE --prompt a -o $TMP/a.mp4 --height 0

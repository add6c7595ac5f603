run $BUNDLE --prompt a -o $TMP/a.mp4 --width 65536 --height 65536 --frames 65536

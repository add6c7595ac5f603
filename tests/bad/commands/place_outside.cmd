run $BUNDLE --prompt x --width 128 --height 128 --place tests/bad/media/image.png@96,0 -o $TMP/x.mp4

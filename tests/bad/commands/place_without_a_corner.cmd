run $BUNDLE --prompt x --place tests/bad/media/image.png@10 -o $TMP/x.mp4

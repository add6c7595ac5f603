run $BUNDLE --prompt a -o $TMP/a.mp4 --threads 0

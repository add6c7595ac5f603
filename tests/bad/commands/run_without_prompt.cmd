run $BUNDLE -o $TMP/a.mp4

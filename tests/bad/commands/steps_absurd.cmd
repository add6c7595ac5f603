run $BUNDLE --prompt a -o $TMP/a.mp4 --steps 1000000000

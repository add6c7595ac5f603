run $BUNDLE --prompt x --batch 0 -o $TMP/x.mp4

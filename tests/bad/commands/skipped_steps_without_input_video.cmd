run $BUNDLE --prompt x --skip-initial-steps 9 -o $TMP/x.mp4

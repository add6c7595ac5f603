run $BUNDLE --prompt x --set defaults.first_pass.steps=2 -o $TMP/x.mp4

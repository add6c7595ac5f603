run $BUNDLE --prompt x --set defaults.stg_scales=1 -o $TMP/x.mp4

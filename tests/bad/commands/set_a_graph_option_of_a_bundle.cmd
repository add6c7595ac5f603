run $BUNDLE --prompt x --set options.stg_mode=residual -o $TMP/x.mp4

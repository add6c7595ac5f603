run $BUNDLE --prompt x --set defaults.guidance_scale=[1,3] -o $TMP/x.mp4

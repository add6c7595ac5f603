run $BUNDLE --prompt x --stg-scale 1 --set defaults.skip_block_list=[99] -o $TMP/x.mp4

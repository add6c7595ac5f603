run $BUNDLE --prompt a --steps 1 --steps 2

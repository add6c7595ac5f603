run $BUNDLE --promt a

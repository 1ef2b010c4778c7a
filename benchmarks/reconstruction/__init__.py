"""Centre, preparation, planes and tomograms of arrays and files, without a daemon."""

"""Linux isolation layers: Landlock, seccomp, mounts, the path broker."""

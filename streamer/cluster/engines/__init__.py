"""What starts the processes of a cluster and tells of their death: on this machine, or with Ray on several."""

"""Code inside the sandbox: the fork server, and the job process around the candidate."""

"""The worker: small loops around the rows it holds: claim -> run -> finish, beside them beat, listen and report."""

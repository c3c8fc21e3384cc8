"""The catalogue: releases described in the standards that others read."""

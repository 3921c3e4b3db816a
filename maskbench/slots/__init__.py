"""The GPU slot that a job holds, the device that it computes on, and the frame that every job runs in."""

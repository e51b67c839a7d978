//! SIGKILL at any moment.

"""Where Keyguard lives in a Jupyter server: the extension, the keys of its kernels, and the gateway that it starts."""

"""The backend for virtual machines under libvirt (extra ``[libvirt]``); see ``backend``."""

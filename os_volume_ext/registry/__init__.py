"""The registry: which volumes are attached to which servers, in a relational database.

``tables`` defines what is stored, ``database`` connects, ``schema`` migrates, ``attachments`` queries and changes the
rows, and ``leases`` lets one worker at a time do work that all of them could.
"""

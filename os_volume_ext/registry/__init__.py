"""The registry: who is attached to what, kept in a relational database.

``tables`` says what is stored, ``database`` connects, ``schema`` migrates, ``attachments`` asks and changes,
``leases`` lets one worker at a time do what all of them could.
"""

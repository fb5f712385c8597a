"""The report of one network: the document, the terminal table and the page with its charts."""

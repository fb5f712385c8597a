"""What people see of a conversion: the JSON document, the terminal table, the HTML page."""

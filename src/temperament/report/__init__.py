"""What people look at: tables for the terminal and figures for the page, drawn from results."""

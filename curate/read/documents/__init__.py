"""Documents -> raw rows: PDF, DOCX, ODT, RTF, HTML, mail and spreadsheets."""

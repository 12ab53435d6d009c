"""Images that lie in the package, with their licences, and the programme that cut them."""

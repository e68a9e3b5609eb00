"""HTTP as a language: headers, the strict head check, codecs behind one interface, path rules.

Reading order: `headers`, `codec`, `head`, `head_lines`, `head_writer`, `h1` (what HTTP/1 codecs share), `h1_server`,
`h1_client`, `chunked`, `h1_httptools`, `h1_h11`, `path`.
"""

//! Carry byte streams through HTTP/2 CONNECT tunnels, over any encrypted stream you give it.

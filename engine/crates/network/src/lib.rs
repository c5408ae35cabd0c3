//! Networks: namespaces, bridges, addresses, NAT.

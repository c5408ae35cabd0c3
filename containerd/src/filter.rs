//! containerd's filter language: `labels."a/b"==v,name~=^x` is an AND, several filters are an OR.

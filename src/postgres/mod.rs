//! stub
pub type DatabaseProperties = serde_json::Value;
pub type ServerProperties = serde_json::Value;

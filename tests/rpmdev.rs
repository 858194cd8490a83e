#[path="it/rpm.rs"] mod rpm;

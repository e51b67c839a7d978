//! The host of the videos: nginx, which hands the kernel a file and a socket. A host that took half of the machine
//! would make all who fetch from it equally slow, and so tell nothing about them.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::bed;

/// ClipServer behind links, as long as it lives.
pub struct ClipServer {
    server: Child,
    _folder: TempDir,
    links: Vec<String>,
}

impl Drop for ClipServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl ClipServer {
    /// Fetches what these links lead to, once, and serves it: real clips, each its own file. Each connection gets so
    /// many MiB per second; 0: as many as there are.
    pub fn of(sources: &[String], line: u32) -> Self {
        let folder = bed::folder();
        bed::run(&mut crate::downloads::curl(folder.path(), sources));
        bed::run(&mut Command::new("sync"));
        // Free a moment ago: nobody here takes ports of his own choice.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("nginx.conf"), configuration(port, line)).unwrap();
        let server = serve(folder.path());
        bed::until("nginx", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        let links = (0..sources.len()).map(|at| format!("http://127.0.0.1:{port}/{at}.mp4")).collect();
        Self { server, _folder: folder, links }
    }

    /// Where they are, in order.
    pub fn links(&self) -> &[String] {
        &self.links
    }

    /// Lets the waiting outputs of a stopped daemon lead here.
    pub fn take_over(&self, data: &Path) {
        let database = rusqlite::Connection::open(data.join("dropreel.db")).unwrap();
        let number = "(SELECT count(*) FROM outputs AS earlier WHERE earlier.job < outputs.job)";
        let root = self.links[0].trim_end_matches("0.mp4");
        let sql = format!("UPDATE outputs SET link = ?1 || {number} || '.mp4' WHERE state = 'waiting'");
        assert_eq!(database.execute(&sql, [root]).unwrap(), self.links.len());
    }
}

/// One process, which ends when it is killed, and whose files all lie in its folder.
fn configuration(port: u16, line: u32) -> String {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {name};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\nerror_log stderr;\npid nginx.pid;\nevents {{}}\n\
         http {{\n    access_log off;\n    sendfile on;\n    types {{ video/mp4 mp4; }}\n{temporary}    \
         server {{ listen 127.0.0.1:{port}; root .; limit_rate {line}m; }}\n}}\n"
    )
}

fn serve(folder: &Path) -> Child {
    let mut command = Command::new(bed::find("nginx").unwrap());
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr"]);
    command.stdout(Stdio::null()).spawn().unwrap()
}
